# Redis for online features and request rates.

variable "name" { type = string }
variable "type" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
variable "vpc" { type = string }
variable "subnets" { type = map(string) }
variable "client_sg" { type = string }
variable "kms_key" { type = string }

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = values(var.subnets)
}

resource "aws_security_group" "this" {
  name        = "${var.name}-cache"
  description = "Pods reach Redis"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.this.id
  description                  = "Pods of the cluster"
  referenced_security_group_id = var.client_sg
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id       = var.name
  description                = "Online features"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.type
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  auth_token                 = var.password
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key
  snapshot_retention_limit   = 7
  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [aws_security_group.this.id]
}

output "address" { value = aws_elasticache_replication_group.this.primary_endpoint_address }
