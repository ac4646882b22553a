"""What the API says a line of the ledger is, against what the ledger keeps."""

import msgspec

from gproxy.admin.record_routes import Usage
from gproxy.ledger.record import UsageRow


def test_a_usage_is_shown_with_every_column_of_the_ledger() -> None:
    columns = {each.name: each.type for each in msgspec.structs.fields(UsageRow)}
    shown = {name: each.annotation for name, each in Usage.model_fields.items()}
    assert shown == {**columns, "cost": str}  # the price once more, in USD
