//! What can go wrong with a chat template, and who has to do something about it.

/// Why a conversation has no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatTemplateError {
    /// The model's makers gave none: it may be a base model.
    #[error(
        "the model has no chat template: give it a plain prompt to complete, or a template by file"
    )]
    Missing,
    /// The file of the template cannot be read as such.
    #[error("{file}: {reason}")]
    Malformed {
        /// Its path or name.
        file: String,
        /// What is wrong in it.
        reason: String,
    },
    /// The template is not one that can be rendered, or failed over these messages: its makers' fault.
    #[error("the chat template cannot be used{}: {reason}", at_line(*.line))]
    Template {
        /// Line of the template, from 1, where known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The template wants more steps or memory than any conversation of this size needs: do not trust the model.
    #[error("the chat template was stopped: {0}")]
    Excess(String),
    /// The template says that it does not take these messages: the caller's to change.
    #[error("the chat template refuses the messages: {0}")]
    Refused(String),
    /// The messages or options are not what can be rendered: the caller's to change.
    #[error("{0}")]
    Request(String),
}

impl ChatTemplateError {
    /// Whether other messages or options would help, so that an HTTP server answers with a status of the 400s.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        match self {
            Self::Missing | Self::Refused(_) | Self::Request(_) => true,
            Self::Malformed { .. } | Self::Template { .. } | Self::Excess(_) => false,
        }
    }
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}"))
        .unwrap_or_default()
}
