# EKS in Auto Mode: it makes and removes nodes as large as the pods need, which are as large as their use cases declare.

variable "name" { type = string }
variable "kubernetes_version" { type = string }
variable "subnets" { type = map(string) }
variable "admin_cidrs" { type = list(string) }
variable "kms_key" { type = string }

locals {
  policies = {
    cluster = ["AmazonEKSClusterPolicy", "AmazonEKSComputePolicy", "AmazonEKSBlockStoragePolicy", "AmazonEKSLoadBalancingPolicy", "AmazonEKSNetworkingPolicy"]
    node    = ["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"]
    files   = ["service-role/AmazonEFSCSIDriverPolicy"]
  }
  services = { cluster = "eks.amazonaws.com", node = "ec2.amazonaws.com", files = "pods.eks.amazonaws.com" }
  attached = merge([for role, names in local.policies : { for name in names : "${role}/${name}" => { role = role, name = name } }]...)
}

resource "aws_iam_role" "this" {
  for_each = local.services
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["sts:AssumeRole", "sts:TagSession"], Principal = { Service = each.value } }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = local.attached
  role       = aws_iam_role.this[each.value.role].name
  policy_arn = "arn:aws:iam::aws:policy/${each.value.name}"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = 365
  kms_key_id        = var.kms_key
}

resource "aws_eks_cluster" "this" {
  #checkov:skip=CKV_AWS_39: people reach the API server from admin_cidrs, which may not be the internet
  #checkov:skip=CKV_AWS_38: the same
  name                          = var.name
  version                       = var.kubernetes_version
  role_arn                      = aws_iam_role.this["cluster"].arn
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode = "API"
  }
  compute_config {
    enabled       = true
    node_pools    = ["general-purpose", "system"]
    node_role_arn = aws_iam_role.this["node"].arn
  }
  kubernetes_network_config {
    elastic_load_balancing {
      enabled = true
    }
  }
  storage_config {
    block_storage {
      enabled = true
    }
  }
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = var.kms_key
    }
  }
  vpc_config {
    subnet_ids              = values(var.subnets)
    endpoint_private_access = true
    endpoint_public_access  = true
    public_access_cidrs     = var.admin_cidrs
  }
  depends_on = [aws_iam_role_policy_attachment.this, aws_cloudwatch_log_group.this]
}

# For the autoscaler of the predictions.
resource "aws_eks_addon" "metrics" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "metrics-server"
}

# For the volume `home`.
resource "aws_eks_addon" "files" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "aws-efs-csi-driver"
  pod_identity_association {
    role_arn        = aws_iam_role.this["files"].arn
    service_account = "efs-csi-controller-sa"
  }
}

output "name" { value = aws_eks_cluster.this.name }
output "security_group" { value = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id }
