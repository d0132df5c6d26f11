terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
  # State names the Redis password. Keep it in a bucket of its own, with encryption and a lock:
  #     terraform init -backend-config=bucket=… -backend-config=key=mlops -backend-config=region=… -backend-config=use_lockfile=true
  backend "s3" {}
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = var.name }
  }
}
