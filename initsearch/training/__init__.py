"""Training: data, models and the LightningModule that trains a cohort."""
