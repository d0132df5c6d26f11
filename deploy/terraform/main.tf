# What deploy/k8s needs from AWS: a cluster, its databases, a folder that all nodes can write, images, and a bucket of source files.

data "aws_caller_identity" "current" {}

locals {
  account = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root"
}

# One key for all that is stored.
resource "aws_kms_key" "this" {
  description         = "${var.name}: databases, files, images, logs"
  enable_key_rotation = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Account", Effect = "Allow", Principal = { AWS = local.account }, Action = "kms:*", Resource = "*" },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
      },
    ]
  })
}

module "network" {
  source  = "./modules/network"
  name    = var.name
  cidr    = var.cidr
  zones   = var.zones
  region  = var.region
  kms_key = aws_kms_key.this.arn
}

module "cluster" {
  source             = "./modules/cluster"
  name               = var.name
  kubernetes_version = var.kubernetes_version
  subnets            = module.network.private_subnets
  admin_cidrs        = var.admin_cidrs
  kms_key            = aws_kms_key.this.arn
}

module "database" {
  source    = "./modules/database"
  name      = var.name
  class     = var.database_class
  vpc       = module.network.vpc
  subnets   = module.network.private_subnets
  client_sg = module.cluster.security_group
  kms_key   = aws_kms_key.this.arn
}

module "cache" {
  source    = "./modules/cache"
  name      = var.name
  type      = var.cache_type
  password  = var.redis_password
  vpc       = module.network.vpc
  subnets   = module.network.private_subnets
  client_sg = module.cluster.security_group
  kms_key   = aws_kms_key.this.arn
}

module "home" {
  source    = "./modules/home"
  name      = var.name
  vpc       = module.network.vpc
  subnets   = module.network.private_subnets
  client_sg = module.cluster.security_group
  kms_key   = aws_kms_key.this.arn
}

module "bucket" {
  source  = "./modules/bucket"
  name    = "${var.name}-sources-${data.aws_caller_identity.current.account_id}"
  kms_key = aws_kms_key.this.arn
}

module "registry" {
  source            = "./modules/registry"
  name              = var.name
  github_repository = var.github_repository
  kms_key           = aws_kms_key.this.arn
}

module "identity" {
  source    = "./modules/identity"
  name      = var.name
  cluster   = module.cluster.name
  namespace = var.namespace
  bucket    = module.bucket.arn
  kms_key   = aws_kms_key.this.arn
}
