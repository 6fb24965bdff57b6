//! Compiled kernels on disk, so that a model starts without compiling from the second time on.

use std::path::PathBuf;

/// The folder of compiled kernels: `HANC_CACHE`, or where the system keeps what can be made again. None where there is none.
fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = variable("HANC_CACHE").or_else(|| Some(variable("XDG_CACHE_HOME")?.join("hanc")));
    let own = own.or_else(|| Some(variable("HOME")?.join(".cache/hanc")));
    own.or_else(|| Some(variable("LOCALAPPDATA")?.join("hanc"))).map(|folder| folder.join("cuda"))
}

/// Two hashes of all that a compiled kernel depends on, as a file's name.
pub(super) fn key(parts: &[&str]) -> String {
    let fold = |mut hash: u64, prime: u64| {
        for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(prime);
            hash ^= hash >> 29;
        }
        hash
    };
    format!(
        "{:016x}{:016x}",
        fold(0xcbf2_9ce4_8422_2325, 0x100_0000_01b3),
        fold(0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9)
    )
}

/// What is kept under a key.
pub(super) fn find(key: &str) -> Option<Vec<u8>> {
    let bytes = std::fs::read(folder()?.join(format!("{key}.cubin"))).ok()?;
    // A file that was cut off is compiled again.
    bytes.starts_with(b"\x7fELF").then_some(bytes)
}

/// Keeps an image under a key, whole or not at all. Where nothing can be kept, nothing is lost.
pub(super) fn keep(key: &str, image: &[u8]) {
    let Some(folder) = folder() else { return };
    let own = folder.join(format!("{key}-{}.part", std::process::id()));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&own, image));
    if written.and_then(|()| std::fs::rename(&own, folder.join(format!("{key}.cubin")))).is_err() {
        let _ = std::fs::remove_file(&own);
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_tell_texts_and_their_order_apart() {
        let all = [key(&["a", "b"]), key(&["b", "a"]), key(&["ab", ""]), key(&["ab"]), key(&["a", "b", ""])];
        for (i, a) in all.iter().enumerate() {
            assert!(a.len() == 32 && all[i + 1..].iter().all(|b| a != b), "{all:?}");
        }
    }
}
