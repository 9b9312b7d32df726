"""Notes whether the prices of a symbol are adjusted, what the symbols of a dataset were, and its last use."""

import sqlalchemy as sa
from alembic import op
from mltrainer_common.database import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "price_basis",
        sa.Column("symbol", sa.String, primary_key=True),
        sa.Column("adjusted", sa.Boolean, nullable=False),
    )
    # Bars of a symbol could be mixed before: what most of them say stands.
    op.execute(
        "INSERT INTO price_basis (symbol, adjusted) "
        "SELECT symbol, 2 * SUM(CASE WHEN adjusted THEN 1 ELSE 0 END) >= COUNT(*) FROM bar GROUP BY symbol"
    )
    op.add_column("dataset", sa.Column("universe", sa.Text))
    op.add_column("dataset", sa.Column("used_time", UtcDateTime))
    op.execute("UPDATE dataset SET used_time = create_time")
