# EFS: the volume `home`, which pods on all nodes write.

variable "name" { type = string }
variable "vpc" { type = string }
variable "subnets" { type = map(string) }
variable "client_sg" { type = string }
variable "kms_key" { type = string }

resource "aws_efs_file_system" "this" {
  encrypted       = true
  kms_key_id      = var.kms_key
  throughput_mode = "elastic"
  tags            = { Name = "${var.name}-home" }
}

resource "aws_efs_backup_policy" "this" {
  file_system_id = aws_efs_file_system.this.id
  backup_policy {
    status = "ENABLED"
  }
}

resource "aws_security_group" "this" {
  name        = "${var.name}-home"
  description = "Nodes mount the home"
  vpc_id      = var.vpc
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.this.id
  description                  = "Nodes of the cluster"
  referenced_security_group_id = var.client_sg
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_mount_target" "this" {
  for_each        = var.subnets
  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = each.value
  security_groups = [aws_security_group.this.id]
}

output "file_system" { value = aws_efs_file_system.this.id }
