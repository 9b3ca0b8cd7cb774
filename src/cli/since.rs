//! What changed since a git reference: [`changed_since`]. Asks git itself.

use std::ffi::OsStr;
use std::process::{Command, Output};

use watchrun::path::{RelPath, Root};
use watchrun::watchfile::Sources;

use super::diagnostics::Failure;

/// The files below `root` that differ from the merge base of `reference` and `HEAD`: committed,
/// staged, unstaged and untracked, with the old names of renamed ones. `None`: one of the
/// watchfiles (`sources`) is another one than there, which may concern any task.
///
/// A clone too shallow to have the merge base is refused: a guess could leave tasks out.
pub(crate) fn changed_since(
    root: &Root,
    reference: &str,
    sources: &Sources,
) -> Result<Option<Vec<RelPath>>, Failure> {
    let base = git(root, ["merge-base", "--", reference, "HEAD"].as_slice())?;
    if !base.status.success() {
        let shallow = git(root, &["rev-parse", "--is-shallow-repository"])?;
        let is_shallow = shallow.stdout.starts_with(b"true");
        return Err(if is_shallow {
            let message = format!("this clone is too shallow to compare with `{reference}`");
            Failure::usage(
                message,
                Some("`git fetch --unshallow` completes it".to_owned()),
            )
        } else {
            let said = String::from_utf8_lossy(&base.stderr).trim().to_owned();
            let message = format!("cannot compare with `{reference}`: {said}");
            Failure::usage(
                message,
                Some("REF is a branch, tag or commit of this repository".to_owned()),
            )
        });
    }
    let base = String::from_utf8_lossy(&base.stdout).trim().to_owned();
    let differing = |more: &[&str]| {
        let diff = ["diff", "--name-only", "--no-renames", "-z", "--relative"];
        listed(&git(root, &[&diff, more, &[&base]].concat())?)
    };
    let modified = differing(&["--diff-filter=M"])?;
    if sources.concern(modified.iter()) {
        return Ok(None);
    }
    let untracked = ["ls-files", "--others", "--exclude-standard", "-z"];
    let mut paths = differing(&[])?;
    // What is staged and was changed back on disk would not be seen from there.
    paths.extend(differing(&["--cached"])?);
    paths.extend(listed(&git(root, &untracked)?)?);
    paths.sort_unstable();
    paths.dedup();
    Ok(Some(paths))
}

fn listed(output: &Output) -> Result<Vec<RelPath>, Failure> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::usage(
            format!("git cannot list what changed: {said}"),
            None,
        ));
    }
    Ok(output
        .stdout
        .split(|&byte| byte == 0)
        .filter_map(RelPath::new)
        .collect())
}

fn git(root: &Root, args: &[impl AsRef<OsStr>]) -> Result<Output, Failure> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root.as_path())
        .args(args)
        .output();
    output.map_err(|error| Failure::environment(&error, Some("`--since` needs git".to_owned())))
}
