//! Flags of `block-server service`.

/// Flags of `block-server service`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceFlags {
    /// What to do with the unit.
    #[command(subcommand)]
    pub task: ServiceTask,
}

/// What `block-server service` does.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ServiceTask {
    /// Write the unit, have it started with the machine (or at login), and start it now
    Install {
        /// Whose systemd.
        #[command(flatten)]
        manager: ManagerFlags,
        /// Print the unit and do nothing
        #[arg(long)]
        print: bool,
    },
    /// Stop the service and remove its unit; settings, identity and downloads stay
    Uninstall {
        /// Whose systemd.
        #[command(flatten)]
        manager: ManagerFlags,
    },
    /// Say whether it is installed and running
    Status {
        /// Whose systemd.
        #[command(flatten)]
        manager: ManagerFlags,
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Whose systemd runs the service.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ManagerFlags {
    /// This user's, which needs no root: the default
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// The machine's, which needs root
    #[arg(long)]
    pub system: bool,
}
