"""Checks of file systems, permissions, free space and grants."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from etl.checks.filesystem import file_system_of, require_file_permissions, require_free_space, require_local_filesystem
from etl.checks.privileges import grant_statements
from etl.checks.runner import compare_date_semantics
from etl.db.dialects.health import MissingPrivilege
from etl.db.dialects.mariadb import DDL_PRIVILEGES, granted_on
from etl.errors import CheckFailedError

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
/dev/sdb1 /srv xfs rw 0 0
nas:/export /srv/billing nfs4 rw,vers=4.2 0 0
//nas/share /mnt/the\\040share cifs rw 0 0
user@host:/data /mnt/far fuse.sshfs rw 0 0
systemd-1 /mnt/auto autofs rw 0 0
nas:/auto /mnt/auto nfs rw 0 0
tmpfs /srv/billing/local tmpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/billing.db", "ext4"),
        ("/srv/billing.db", "xfs"),
        ("/srv/billing/billing.db", "nfs4"),
        ("/srv/billingx/billing.db", "xfs"),
        ("/srv/billing/local/billing.db", "tmpfs"),
        ("/mnt/the share/billing.db", "cifs"),
        ("/mnt/far/a/b/billing.db", "fuse.sshfs"),
        ("/mnt/auto/billing.db", "nfs"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_mount_above_a_path(path, kind):
    assert file_system_of(PurePosixPath(path), MOUNTS) == kind
    assert file_system_of(PurePosixPath(path), "") == ""


def test_a_database_on_a_network_file_system_is_refused_with_the_remedy(tmp_path):
    mounts = f"/dev/sda1 / ext4 rw 0 0\n{{}} {tmp_path.resolve()} {{}} rw 0 0\n"
    assert require_local_filesystem(tmp_path / "billing.db", mounts.format("/dev/sdb", "btrfs")) == "btrfs"
    for kind in ("nfs", "cifs", "smb3", "fuse.sshfs"):
        with pytest.raises(CheckFailedError, match=rf"is on {kind}, a network file system.* move it to a local disk"):
            require_local_filesystem(tmp_path / "billing.db", mounts.format("there", kind))


def test_free_space_is_reported_and_too_little_is_refused(tmp_path):
    assert "GB free in" in require_free_space(tmp_path, min_mb=1)
    with pytest.raises(CheckFailedError, match="free at least 1000000000 MB"):
        require_free_space(tmp_path, min_mb=1_000_000_000)
    with pytest.raises(CheckFailedError, match="cannot be read"):
        require_free_space(tmp_path / "nowhere")


def test_the_mode_of_a_database_is_reported_and_world_writable_refused(tmp_path):
    path = tmp_path / "billing.db"
    path.touch()
    tmp_path.chmod(0o750)
    for mode, words in ((0o640, "mode 0640"), (0o644, "all users may read")):
        path.chmod(mode)
        assert words in require_file_permissions(path)
    path.chmod(0o646)
    with pytest.raises(CheckFailedError, match="all users may change"):
        require_file_permissions(path)
    path.chmod(0o640)
    tmp_path.chmod(0o757)
    with pytest.raises(CheckFailedError, match="all users may replace files"):
        require_file_permissions(path)
    tmp_path.chmod(0o1757)
    assert "mode 0640" in require_file_permissions(path)


@pytest.mark.parametrize(
    ("grant", "names"),
    [
        ("GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION", set(DDL_PRIVILEGES)),
        ("GRANT ALL PRIVILEGES ON `bill\\_ing`.* TO `u`@`%`", set(DDL_PRIVILEGES)),
        ("GRANT CREATE, CREATE VIEW ON `bill%`.* TO `u`@`%`", {"CREATE", "CREATE VIEW"}),
        ("GRANT CREATE ON `bill_ing`.* TO `u`@`%`", {"CREATE"}),
        ("GRANT CREATE ON `billxing`.* TO `u`@`%`", set()),
        ("GRANT CREATE ON `bill\\_ing`.`accounts` TO `u`@`%`", set()),
        ("GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*x'", set()),
        ("GRANT `role` TO `u`@`%`", set()),
    ],
)
def test_the_lines_of_show_grants_are_read_for_one_database(grant, names):
    assert granted_on([grant], "bill_ing") & set(DDL_PRIVILEGES) == names


def test_missing_privileges_are_listed_by_object_with_grant_statements():
    missing = [
        MissingPrivilege("INSERT", "a"),
        MissingPrivilege("DELETE", "a"),
        MissingPrivilege("owner", "", "for migrations"),
    ]
    assert grant_statements(missing, "me") == (
        "me lacks INSERT, DELETE on a; the role owner (for migrations); the owner gives it (or set "
        "BILLING_AUTO_MIGRATE=false): GRANT INSERT, DELETE ON a TO me; GRANT owner TO me; "
        "see docs/how-to/permissions.md"
    )


def test_the_first_known_meaning_of_dates_is_not_a_change():
    assert compare_date_semantics(None, "excluded") == "the end date is not included"
