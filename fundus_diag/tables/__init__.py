"""The rules of manifests; `fundus_diag.manifest` puts them together."""
