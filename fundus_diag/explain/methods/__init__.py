"""The methods that make maps, a file each."""
