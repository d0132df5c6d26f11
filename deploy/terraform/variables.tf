variable "name" {
  description = "Of the cluster; what belongs to it starts with this."
  type        = string
  default     = "mlops"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name: 2 to 20 of a-z, 0-9 and -, with a letter first, as a database and a bucket must be named."
  }
}

variable "region" {
  description = "Of AWS, such as eu-central-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: a region of AWS, such as eu-central-1."
  }
}

variable "zones" {
  description = "Availability zones; each gets a private and a public subnet."
  type        = list(string)
  validation {
    condition     = length(distinct(var.zones)) >= 2 && length(var.zones) == length(distinct(var.zones)) && length(var.zones) <= 4
    error_message = "zones: 2 to 4 different zones, such as [\"eu-central-1a\", \"eu-central-1b\"]."
  }
}

variable "cidr" {
  description = "Addresses of the network; each subnet gets an eighth."
  type        = string
  default     = "10.40.0.0/16"
  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("/(1[6-9]|20)$", var.cidr))
    error_message = "cidr: a network of /16 to /20, such as 10.40.0.0/16."
  }
}

variable "admin_cidrs" {
  description = "From where people reach the API server of the cluster. Argo CD runs inside and needs none."
  type        = list(string)
  validation {
    condition     = length(var.admin_cidrs) > 0 && alltrue([for one in var.admin_cidrs : can(cidrhost(one, 0)) && !endswith(one, "/0")])
    error_message = "admin_cidrs: networks such as 203.0.113.0/24, not the whole internet."
  }
}

variable "kubernetes_version" {
  description = "deploy/k8s needs 1.30 or newer."
  type        = string
  default     = "1.33"
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && tonumber(split(".", var.kubernetes_version)[1]) >= 30
    error_message = "kubernetes_version: 1.30 or newer, such as 1.33."
  }
}

variable "namespace" {
  description = "The namespace of the overlay whose runs read the bucket."
  type        = string
  default     = "mlops"
  validation {
    condition     = contains(["mlops", "mlops-staging", "mlops-dev"], var.namespace)
    error_message = "namespace: mlops, mlops-staging or mlops-dev, as the overlays have it."
  }
}

variable "database_class" {
  description = "Of RDS. The event log of Dagster is what grows and works most."
  type        = string
  default     = "db.m7g.large"
  validation {
    condition     = startswith(var.database_class, "db.")
    error_message = "database_class: a class of RDS, such as db.m7g.large."
  }
}

variable "cache_type" {
  description = "Of ElastiCache. All online features have to fit into its memory."
  type        = string
  default     = "cache.m7g.large"
  validation {
    condition     = startswith(var.cache_type, "cache.")
    error_message = "cache_type: a type of ElastiCache, such as cache.m7g.large."
  }
}

variable "redis_password" {
  description = "From a secret store, by TF_VAR_redis_password."
  type        = string
  sensitive   = true
  validation {
    condition     = can(regex("^[A-Za-z0-9]{32,128}$", var.redis_password))
    error_message = "redis_password: 32 to 128 letters and digits; others would have to be escaped in its address."
  }
}

variable "github_repository" {
  description = "owner/name, whose workflow images.yml may push images from its branch main."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository: owner/name."
  }
}
