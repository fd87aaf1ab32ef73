//! `block-server service`: the server as a service of systemd.

use std::path::{Path, PathBuf};
use std::process::Command;

use block_program::amounts::shell_word;
use block_program::settings::FileChoice;
use block_program::{Exit, Failure, Folders};
use serde_json::json;

use crate::cli::{ManagerFlags, ServiceFlags, ServiceTask};
use crate::systemd_unit::{self, Start};

/// Does what the flags say, and returns the text for stdout. The unit keeps the choice of `files`.
///
/// # Errors
/// No settings to start with, or none that the service can see (exit 2), no systemd (69), or it refuses (71); a unit or
/// file that is not there (66), or cannot be read, written or removed (77).
pub fn service(
    flags: &ServiceFlags,
    files: &FileChoice,
    folders: &Folders,
) -> Result<String, Failure> {
    match &flags.task {
        ServiceTask::Install { manager, print } => {
            Manager::of(*manager, folders).install(files, *print)
        }
        ServiceTask::Uninstall { manager } => Manager::of(*manager, folders).uninstall(),
        ServiceTask::Status { manager, json } => Manager::of(*manager, folders).status(*json),
    }
}

/// One of the two that run services.
struct Manager<'a> {
    is_machines: bool,
    folders: &'a Folders,
}

impl<'a> Manager<'a> {
    fn of(flags: ManagerFlags, folders: &'a Folders) -> Self {
        Self {
            is_machines: flags.system,
            folders,
        }
    }

    fn install(&self, files: &FileChoice, only_prints: bool) -> Result<String, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::OsError, "this program does not know where it is").caused_by(&error)
        })?;
        if !systemd_unit::can_start(&program) {
            let what = format!("systemd starts no program named {}", program.display());
            return Err(Failure::usage(what)
                .cause("there is a quote or a backslash in it")
                .hint("install block-server in another folder, such as /usr/local/bin"));
        }
        let config = files.named.as_deref().map(from_root).transpose()?;
        if files.only_named && config.is_none() {
            let what = "the service would have no settings: --no-config-files leaves all unread";
            return Err(Failure::usage(what).hint("name one with --config, or leave the flag out"));
        }
        let start = Start {
            program: &program,
            config: config.as_deref(),
            only_config: files.only_named,
        };
        let unit = if self.is_machines {
            systemd_unit::of_machine(start)
        } else {
            systemd_unit::of_user(start)
        };
        if only_prints {
            return Ok(unit.trim_end().to_owned());
        }
        self.check_program(&program)?;
        match &config {
            Some(file) => self.check_config(Path::new(file))?,
            None => self.check_settings()?,
        }
        let path = self.unit_file();
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, unit));
        written.map_err(|error| self.refused("write", &path, &error))?;
        self.call(&["daemon-reload"])?;
        self.call(&["enable", systemd_unit::NAME])?;
        // Not waited for: a first start may download for hours.
        self.call(&["restart", "--no-block", systemd_unit::NAME])?;
        let (of, user) = self.words();
        let log_out = if self.is_machines {
            ""
        } else {
            "\nit ends when this user logs out, unless: loginctl enable-linger"
        };
        Ok(format!(
            "installed {}\nlog       journalctl{of} --follow --unit {}{log_out}\nremove    block-server service uninstall{user}",
            path.display(),
            systemd_unit::NAME
        ))
    }

    fn uninstall(&self) -> Result<String, Failure> {
        let path = self.unit_file();
        if !path.exists() {
            return Err(self.absent(&path));
        }
        self.call(&["disable", "--now", systemd_unit::NAME])?;
        std::fs::remove_file(&path).map_err(|error| self.refused("remove", &path, &error))?;
        self.call(&["daemon-reload"])?;
        Ok(format!("removed {}", path.display()))
    }

    fn status(&self, as_json: bool) -> Result<String, Failure> {
        let path = self.unit_file();
        if !path.exists() {
            return Err(self.absent(&path));
        }
        let unit =
            std::fs::read_to_string(&path).map_err(|error| self.refused("read", &path, &error))?;
        let command = systemd_unit::command(&unit).unwrap_or_default();
        let properties = "--property=UnitFileState,ActiveState,SubState,MainPID";
        let said = self.call(&["show", systemd_unit::NAME, properties])?;
        let value = |key: &str| {
            let values = said.lines().filter_map(|line| line.split_once('='));
            let mut values = values.filter(|(name, _)| *name == key);
            values.next().map_or("", |(_, value)| value).to_owned()
        };
        let (enabled, active, detail) = (
            value("UnitFileState"),
            value("ActiveState"),
            value("SubState"),
        );
        let pid = value("MainPID").parse::<u32>().ok().filter(|pid| *pid > 0);
        if as_json {
            let status = json!({
                "unit": path,
                "command": command,
                "enabled": enabled == "enabled",
                "state": active,
                "detail": detail,
                "pid": pid,
            });
            return Ok(status.to_string());
        }
        let process = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
        Ok(format!(
            "unit    {}\nruns    {command}\nstart   {enabled}\nstate   {active} ({detail}){process}",
            path.display()
        ))
    }

    fn unit_file(&self) -> PathBuf {
        if self.is_machines {
            Path::new("/etc/systemd/system").join(systemd_unit::NAME)
        } else {
            self.folders.systemd_user_folder().join(systemd_unit::NAME)
        }
    }

    /// What goes after `journalctl` and after our own command.
    fn words(&self) -> (&'static str, &'static str) {
        if self.is_machines {
            ("", " --system")
        } else {
            (" --user", "")
        }
    }

    /// The machine's unit sees no home folder.
    fn is_hidden(&self, path: &Path) -> bool {
        let private = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
        // Where it really lies: a link or `..` may lead there.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.is_machines && private.iter().any(|folder| path.starts_with(folder))
    }

    fn check_program(&self, program: &Path) -> Result<(), Failure> {
        if self.is_hidden(program) {
            let what = format!("the service cannot see {}", program.display());
            return Err(Failure::usage(what).hint(format!(
                "install -m 755 {} /usr/local/bin/ && /usr/local/bin/block-server service install --system",
                shell_word(&program.display().to_string())
            )));
        }
        Ok(())
    }

    fn check_config(&self, file: &Path) -> Result<(), Failure> {
        if !file.is_file() {
            let what = format!("there is no file {}", file.display());
            return Err(Failure::new(Exit::NoInput, what).hint(format!(
                "block-server config init --config {}, and set model in it",
                shell_word(&file.display().to_string())
            )));
        }
        if self.is_hidden(file) {
            let what = format!("the service cannot see {}", file.display());
            return Err(Failure::usage(what)
                .hint("copy it to /etc/block-server/, and name it there with --config"));
        }
        Ok(())
    }

    /// A unit has no other flags: without a file of settings it would know no model.
    fn check_settings(&self) -> Result<(), Failure> {
        let [system, user] = self.folders.config_files();
        // A user's service reads the machine's as well, and each may have variables beside it.
        let (file, all) = if self.is_machines {
            (system.clone(), vec![system])
        } else {
            (user.clone(), vec![user, system])
        };
        let has_any = all
            .iter()
            .any(|file| file.is_file() || file.with_file_name("env").is_file());
        if has_any {
            return Ok(());
        }
        let what = format!(
            "the service would have no settings: there is no {}",
            file.display()
        );
        let hint = if self.is_machines {
            format!(
                "block-server config init --config {}, and set model in it",
                file.display()
            )
        } else {
            "block-server config set model ORG/NAME".to_owned()
        };
        Err(Failure::usage(what).hint(hint))
    }

    /// Asks systemd, and returns what it prints.
    fn call(&self, words: &[&str]) -> Result<String, Failure> {
        let manager: &[&str] = if self.is_machines { &[] } else { &["--user"] };
        let output = Command::new("systemctl").args(manager).args(words).output();
        let output = output.map_err(|error| {
            Failure::new(
                Exit::Unavailable,
                "systemd cannot be asked: systemctl does not run",
            )
            .caused_by(&error)
            .hint("block-server service install --print shows the unit for a machine that has it")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let failure = Failure::new(
            Exit::OsError,
            format!("systemctl {} failed", [manager, words].concat().join(" ")),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().take(MAX_LINES);
        Err(lines.fold(failure, |failure, line| failure.cause(line)))
    }

    fn absent(&self, path: &Path) -> Failure {
        let (_, user) = self.words();
        Failure::new(
            Exit::NoInput,
            format!("there is no service {}", path.display()),
        )
        .hint(format!("block-server service install{user}"))
    }

    fn refused(&self, verb: &str, path: &Path, error: &std::io::Error) -> Failure {
        let failure = Failure::new(
            Exit::NoPermission,
            format!("cannot {verb} {}", path.display()),
        )
        .caused_by(error);
        if self.is_machines {
            failure.hint("run it as root, or without --system for this user alone")
        } else {
            failure
        }
    }
}

/// A file as a unit can name it, wherever it is started.
fn from_root(file: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(file).map_err(|error| {
        Failure::new(Exit::OsError, "the current folder is unknown").caused_by(&error)
    })?;
    absolute.into_os_string().into_string().map_err(|path| {
        let what = format!("a unit cannot name {}", path.display());
        Failure::usage(what)
            .cause("its name is not UTF-8")
            .hint("give the file another name")
    })
}

/// Lines of systemctl's own words that a failure shows.
const MAX_LINES: usize = 6;
