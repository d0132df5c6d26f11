# The service account `runs` of the overlay reads the bucket, without a stored key. No other pod does.

variable "name" { type = string }
variable "cluster" { type = string }
variable "namespace" { type = string }
variable "bucket" { type = string }
variable "kms_key" { type = string }

resource "aws_iam_role" "runs" {
  name = "${var.name}-runs"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["sts:AssumeRole", "sts:TagSession"], Principal = { Service = "pods.eks.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "runs" {
  name = "read"
  role = aws_iam_role.runs.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "s3:ListBucket", Resource = var.bucket },
      { Effect = "Allow", Action = "s3:GetObject", Resource = "${var.bucket}/*" },
      { Effect = "Allow", Action = "kms:Decrypt", Resource = var.kms_key },
    ]
  })
}

resource "aws_eks_pod_identity_association" "runs" {
  cluster_name    = var.cluster
  namespace       = var.namespace
  service_account = "runs"
  role_arn        = aws_iam_role.runs.arn
}
