//! `diffusion-operator render`: the objects of a `DiffusionService` as YAML, without a cluster. It is for review, for a
//! diff in version control, and for finding mistakes before they are committed.

mod check;
mod print;

use diffusion_crds::DiffusionService;
use kube::Resource as _;
use serde_json::Value;

use crate::{
    desired,
    settings::Settings,
    validate::{Invalid, validate_without_uid},
};

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The text is no YAML.
    #[error("this is no YAML:\n{0}")]
    Yaml(String),
    /// The text has no document.
    #[error("there is no DiffusionService in it: give a YAML file with at least one")]
    Empty,
    /// A document is of another kind.
    #[error("document {document} is {found}, not {expected}: give a file with DiffusionServices only")]
    Kind {
        /// Its number, from 1.
        document: usize,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// Fields are unknown or have a wrong value.
    #[error("document {document} is no valid DiffusionService:\n{}", list(problems))]
    Fields {
        /// Its number, from 1.
        document: usize,
        /// One for each field.
        problems: Vec<String>,
    },
    /// The API server would take it, and the operator could not act on it.
    #[error("document {document} is no valid DiffusionService:\n  {error}")]
    Invalid {
        /// Its number, from 1.
        document: usize,
        /// Why.
        error: Invalid,
    },
    /// An object could not be written.
    #[error("an object could not be written as YAML, please report this: {0}")]
    Write(String),
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// Renders one or several YAML documents of kind `DiffusionService`.
///
/// The objects are those that the operator makes but for their owner references: they need the uid that a resource gets in
/// a cluster. Where a document has no namespace, it is `default`.
///
/// # Errors
/// [`RenderError`] says in which document, at which field, and what to do.
pub fn render(text: &str, settings: &Settings) -> Result<String, RenderError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| RenderError::Yaml(error.to_string()))?;
    let mut out = String::new();
    let mut count = 0;
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        count += 1;
        let resource = read(count, document)?;
        let validated = validate_without_uid(&resource)
            .map_err(|error| RenderError::Invalid { document: count, error })?;
        print::print(&validated, desired::objects(&validated, settings), &mut out)
            .map_err(|error| RenderError::Write(error.to_string()))?;
    }
    if count == 0 { Err(RenderError::Empty) } else { Ok(out) }
}

/// One document, checked as an API server does it: fields and values by the schema, then the rules.
fn read(document: usize, mut value: Value) -> Result<DiffusionService, RenderError> {
    kind(document, &value)?;
    if let Value::Object(fields) = &mut value {
        // What `kubectl get -o yaml` prints has one. It says nothing about what is wanted.
        fields.remove("status");
    }
    let fields = |problems| RenderError::Fields { document, problems };
    let problems = check::check(&mut value);
    if !problems.is_empty() {
        return Err(fields(problems));
    }
    let mut resource: DiffusionService =
        serde_json::from_value(value).map_err(|error| fields(vec![error.to_string()]))?;
    if let Err(errors) = resource.validate_cel() {
        let text = |error: &kube::core::cel::ValidationError| match error.field_path.trim_start_matches('.') {
            "" => error.message.clone(),
            path => format!("{path}: {}", error.message),
        };
        return Err(fields(errors.as_slice().iter().map(text).collect()));
    }
    resource.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    Ok(resource)
}

fn kind(document: usize, value: &Value) -> Result<(), RenderError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (right_version, right_kind) = (DiffusionService::api_version(&()), DiffusionService::kind(&()));
    if version == right_version && kind == right_kind {
        return Ok(());
    }
    let found = match (version.as_str(), kind.as_str()) {
        ("", "") => "without apiVersion and kind".to_owned(),
        ("", kind) => format!("{kind} without an apiVersion"),
        (version, "") => format!("without a kind, of apiVersion {version}"),
        (version, kind) => format!("{kind} of {version}"),
    };
    Err(RenderError::Kind { document, found, expected: format!("{right_kind} of {right_version}") })
}
