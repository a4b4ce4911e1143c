"""Errors of the inner packages name a field; users read the environment variable and the remedy."""

from __future__ import annotations

import pytest

from etl.db.bindings import BindingError
from etl.errors import ConfigError, SettingError
from etl.services.setting_errors import explain_setting, named_settings


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            SettingError("database_url", "needs a driver that is not installed"),
            "BILLING_DATABASE_URL needs a driver that is not installed",
        ),
        (
            BindingError("account", "defualt", "defualt", "my shop", has_rows=False),
            (
                "BILLING_ACCOUNT is defualt, which this database does not have yet, and the token is that of the "
                "account my shop: each charge would be stored under both. To continue with my shop, set "
                "BILLING_ACCOUNT=my shop; to rename it to defualt, run: billing-etl account rename 'my shop' "
                "defualt; to keep both, name both in the configuration file"
            ),
        ),
        (
            BindingError("account", "a", "a", "b", in_file=True, has_rows=False),
            (
                "BILLING_ACCOUNT is a, which this database does not have yet, and the token is that of the "
                "account b: each charge would be stored under both. To continue with b, name its section "
                "[accounts.b]; to rename it to a, run: billing-etl account rename b a; to keep both, name both in"
                " the configuration file"
            ),
        ),
        (
            BindingError("account", "a", "a", "my b", in_file=True, may_be_exchanged=True),
            (
                "BILLING_ACCOUNT is a, and its token is that of the last run of the account my b, which does "
                "not have it in the configuration file any more: if tokens are exchanged, the records of my b would "
                "replace those of a. Correct them; or, if my b has a new token, run first: billing-etl sync --account "
                "'my b'. If neither helps and both are right, set the token of a for both once, run: billing-etl sync "
                "--account a, and set that of my b again"
            ),
        ),
        (
            BindingError("phones", "default", "masked", "plain"),
            (
                "BILLING_PHONES is masked, and the account default is stored in another format: set "
                "BILLING_PHONES=plain again, or start over, after billing-etl account delete default or in an "
                "empty database, and backfill"
            ),
        ),
        (
            BindingError("phones_key_file", "default", "11111111", "22222222"),
            (
                "BILLING_PHONES_KEY_FILE holds the key 11111111, and the account default is stored in another "
                "format: set BILLING_PHONES_KEY_FILE to the file of the key 22222222 again, or start over, after "
                "billing-etl account delete default or in an empty database, and backfill"
            ),
        ),
        (
            BindingError("timezone", "default", "Asia/Vladivostok", "Europe/Moscow"),
            (
                "BILLING_TIMEZONE is Asia/Vladivostok, and the times of the account default are stored in "
                "Europe/Moscow: set BILLING_TIMEZONE=Europe/Moscow again, or convert the stored times with: "
                "billing-etl account set-timezone default Asia/Vladivostok"
            ),
        ),
        (
            BindingError("timezone", "default", "Asia/Vladivostok", None),
            (
                "BILLING_TIMEZONE is Asia/Vladivostok, and the times of the account default are stored in another"
                " zone: set the zone of the earlier runs again, or convert the stored times with: billing-etl "
                "account set-timezone default Asia/Vladivostok"
            ),
        ),
    ],
)
def test_an_error_about_a_setting_names_the_variable_and_the_remedy(error, text):
    assert explain_setting(error) == text
    with pytest.raises(ConfigError) as raised, named_settings():
        raise error
    assert (type(raised.value), str(raised.value)) == (ConfigError, text)
    assert raised.value.__suppress_context__


def test_other_errors_pass_unchanged():
    error = ConfigError("the account default is partly deleted")
    with pytest.raises(ConfigError) as raised, named_settings():
        raise error
    assert raised.value is error
