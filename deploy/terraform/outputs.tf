output "images" {
  description = "newName of the images in the overlays."
  value       = module.registry.images
}

output "publisher_role" {
  description = "The variable AWS_ROLE of the workflow images.yml."
  value       = module.registry.publisher_role
}

output "platform_secret" {
  description = "Entries of the secret `platform`. PASSWORD is in database_password; of Redis, it is redis_password."
  value = {
    MLOPS_DAGSTER_STORAGE = "postgresql+psycopg2://mlops:PASSWORD@${module.database.address}/dagster"
    MLOPS_LEDGER          = "postgresql://mlops:PASSWORD@${module.database.address}/ledger"
    MLOPS_MLFLOW_STORE    = "postgresql://mlops:PASSWORD@${module.database.address}/mlflow"
    MLOPS_ONLINE_STORE    = "rediss://:PASSWORD@${module.cache.address}:6379/0"
  }
}

output "database_password" {
  description = "The secret of Secrets Manager that has it."
  value       = module.database.password
}

output "home_file_system" {
  description = "fileSystemId of the storage class of the volume `home`."
  value       = module.home.file_system
}

output "sources_bucket" {
  description = "For Files(path = \"s3://…\") of a use case."
  value       = module.bucket.name
}
