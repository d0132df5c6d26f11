# Postgres. `dagster` is made here; `mlflow` and `ledger` are made by hand, as deploy/compose/databases.sql does.

variable "name" { type = string }
variable "class" { type = string }
variable "vpc" { type = string }
variable "subnets" { type = map(string) }
variable "client_sg" { type = string }
variable "kms_key" { type = string }

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = values(var.subnets)
}

resource "aws_security_group" "this" {
  name        = "${var.name}-database"
  description = "Pods reach Postgres"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.this.id
  description                  = "Pods of the cluster"
  referenced_security_group_id = var.client_sg
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_parameter_group" "this" {
  name   = "${var.name}-17"
  family = "postgres17"
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_161: the platform signs in with a password, which RDS makes and Secrets Manager keeps
  #checkov:skip=CKV_AWS_118: Performance Insights shows what waits; there is no need of figures of the operating system
  identifier                      = var.name
  engine                          = "postgres"
  engine_version                  = "17"
  instance_class                  = var.class
  allocated_storage               = 100
  max_allocated_storage           = 1000
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = var.kms_key
  db_name                         = "dagster"
  username                        = "mlops"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = var.kms_key
  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  parameter_group_name            = aws_db_parameter_group.this.name
  multi_az                        = true
  publicly_accessible             = false
  auto_minor_version_upgrade      = true
  backup_retention_period         = 14
  copy_tags_to_snapshot           = true
  deletion_protection             = true
  final_snapshot_identifier       = "${var.name}-last"
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key
}

output "address" { value = aws_db_instance.this.address }
output "password" { value = aws_db_instance.this.master_user_secret[0].secret_arn }
