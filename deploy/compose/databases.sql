-- Next to `dagster`, which Postgres makes by itself.
CREATE DATABASE mlflow;
CREATE DATABASE ledger;
