//! The limit of open files.

/// Raises it as far as this user may, up to what a busy peer needs; warns if that is little.
pub fn raise() {
    match rlimit::increase_nofile_limit(WANTED) {
        Ok(limit) if limit >= ENOUGH => {}
        Ok(limit) => tracing::warn!(
            limit,
            "few open files are allowed; raise LimitNOFILE or ulimit -n"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// The most that this user may have, and whether it is enough for a busy peer.
///
/// # Errors
/// The system does not tell.
pub fn allowed() -> std::io::Result<(u64, bool)> {
    let (_, hard) = rlimit::Resource::NOFILE.get()?;
    Ok((hard, hard >= ENOUGH))
}

/// Each peer connection is an open file; systems often start processes with 1,024.
const WANTED: u64 = 65_536;
/// Enough for the connections of a default node.
const ENOUGH: u64 = 4_096;
