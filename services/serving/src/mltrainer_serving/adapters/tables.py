"""Table of served aliases."""

from mltrainer_common.database import UtcDateTime
from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text

metadata = MetaData()

deployed_alias = Table(
    "deployed_alias",
    metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("wanted_json", Text, nullable=False),
    Column("version_json", Text),
    Column("error", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("load_time", UtcDateTime),
    Column("traceparent", String, nullable=False),
)
