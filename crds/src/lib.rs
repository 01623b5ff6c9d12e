//! The `DiffusionService` custom resource: its types come with the operator.
