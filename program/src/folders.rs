//! The folders of the XDG base directory rules, resolved once.

use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, Xdg};

use crate::error_report::{Exit, Failure};

/// Where configuration and state live.
#[derive(Debug, Clone)]
pub struct Folders {
    system: PathBuf,
    config: PathBuf,
    state: PathBuf,
    systemd: PathBuf,
}

impl Folders {
    /// Folders of the current user for the program `name`: `$XDG_CONFIG_HOME`, `$XDG_STATE_HOME`, or
    /// `~/.config` and `~/.local/state`.
    ///
    /// # Errors
    /// The home folder is unknown.
    pub fn of_user(name: &str) -> Result<Self, Failure> {
        let xdg = Xdg::new().map_err(|error| {
            Failure::new(Exit::OsError, "the home folder of this user is unknown")
                .caused_by(&error)
                .hint("set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME")
        })?;
        let state = xdg.state_dir().unwrap_or_else(|| xdg.data_dir());
        Ok(Self {
            system: Path::new("/etc").join(name),
            config: xdg.config_dir().join(name),
            state: state.join(name),
            systemd: xdg.config_dir().join("systemd/user"),
        })
    }

    /// All folders under `root`; nothing outside it is touched.
    pub fn under(root: &Path) -> Self {
        Self {
            system: root.join("etc"),
            config: root.join("config"),
            state: root.join("state"),
            systemd: root.join("systemd/user"),
        }
    }

    /// The configuration files that are read unasked, if they exist: the system's, then the user's. TOML goes before
    /// YAML.
    pub fn config_files(&self) -> [PathBuf; 2] {
        [&self.system, &self.config].map(|folder| {
            let spellings = ["config.toml", "config.yaml", "config.yml"];
            let mut files = spellings.map(|name| folder.join(name)).into_iter();
            files
                .find(|file| file.is_file())
                .unwrap_or_else(|| folder.join("config.toml"))
        })
    }

    /// The user's configuration file, whether or not it exists.
    pub fn user_config_file(&self) -> PathBuf {
        let [_, user] = self.config_files();
        user
    }

    /// Where a user's systemd looks for units.
    pub fn systemd_user_folder(&self) -> &Path {
        &self.systemd
    }

    /// The identity that is used when no flag names one.
    pub fn default_identity_file(&self) -> PathBuf {
        self.state.join("identity.key")
    }

    /// A file that the program keeps between two runs.
    pub fn state_file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }
}
