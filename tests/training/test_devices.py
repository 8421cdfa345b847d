"""What several devices share."""

from types import SimpleNamespace

import pytest

from fundus_diag.training.devices import check_shares
from fundus_diag.utils.errors import UsageError


@pytest.mark.parametrize(("batch", "devices"), [(8, 1), (7, 1), (8, 4), (4, 4)])
def test_a_batch_that_devices_can_share_is_taken(batch, devices):
    check_shares(SimpleNamespace(num_replicas_in_sync=devices), batch)


@pytest.mark.parametrize(("batch", "devices"), [(6, 4), (1, 2), (9, 2)])
def test_a_batch_that_devices_cannot_share_is_refused(batch, devices):
    with pytest.raises(UsageError, match=f"--batch-size {batch}: {devices} devices need a multi"):
        check_shares(SimpleNamespace(num_replicas_in_sync=devices), batch)
