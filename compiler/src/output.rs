//! What hanc writes: files that appear complete or not at all, and numbers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Files that this run writes, for [`abandon`].
static ANNOUNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Temporary folders that this run made, for [`abandon`].
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Writes a file under a temporary name in the same folder, which takes the file's name when it is complete.
pub fn replace(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let scratch = path.with_file_name(format!("{}{}", name.to_string_lossy(), suffix()));
    announce(path);
    let done =
        File::create_new(&scratch).and_then(|file| fill(file, body)).and_then(|()| std::fs::rename(&scratch, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&scratch);
    }
    done
}

/// `1 234 567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let (head, tail) = digits.split_at(lead);
    let groups = std::iter::once(head).filter(|head| !head.is_empty());
    let rest = tail.as_bytes().chunks(3).filter_map(|group| std::str::from_utf8(group).ok());
    groups.chain(rest).collect::<Vec<_>>().join(" ")
}

/// Notes a file that this run writes under a temporary name which ends as all of ours do.
pub fn announce(path: &Path) {
    if let Ok(mut announced) = ANNOUNCED.lock() {
        announced.push(path.to_owned());
    }
}

/// A temporary folder, which is removed when it is no longer held, or abandoned.
pub fn scratch() -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("hanc-").tempdir()?;
    if let Ok(mut folders) = FOLDERS.lock() {
        folders.push(folder.path().to_owned());
    }
    Ok(folder)
}

/// Removes temporary folders and the temporary files of all announced files: the program is about to end.
pub fn abandon() {
    let folders = FOLDERS.lock().map(|folders| folders.clone()).unwrap_or_default();
    folders.iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
    let announced = ANNOUNCED.lock().map(|paths| paths.clone()).unwrap_or_default();
    for path in announced {
        scratches(&path).for_each(|scratch| drop(std::fs::remove_file(scratch)));
    }
}

/// The temporary files of this process beside a file, its external data's included.
fn scratches(path: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ours = move |entry: &std::fs::DirEntry| {
        let other = entry.file_name().to_string_lossy().into_owned();
        let of_model = other.contains(&format!(".{}-", std::process::id())) && other.ends_with(".part");
        let temporary = other.ends_with(&suffix()) || of_model;
        temporary && other.starts_with(&name)
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(ours).map(|entry| entry.path())
}

fn suffix() -> String {
    format!(".{}.tmp", std::process::id())
}

fn fill(file: File, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    body(&mut file)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!([0, 12, 123, 1_234, 1_821_706].map(grouped), ["0", "12", "123", "1 234", "1 821 706"]);
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("x.txt");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(dir.path(), |_| Ok(())).is_err());
    }

    #[test]
    fn abandoning_removes_what_is_half_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("x.onnx");
        std::fs::write(&path, "old").unwrap();
        let half = [format!("x.onnx{}", suffix()), format!("x.onnx.data.{}-0.part", std::process::id())];
        half.iter().for_each(|name| std::fs::write(dir.path().join(name), "half").unwrap());
        std::fs::write(dir.path().join("other.tmp"), "other").unwrap();
        announce(&path);
        let folder = scratch().unwrap();
        std::fs::write(folder.path().join("model.onnx"), "model").unwrap();
        abandon();
        assert!(!folder.path().exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
