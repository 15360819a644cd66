//! The secret key of the node, kept in a file.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use iroh::SecretKey;

/// The secret key in a file that only the user can read, made if there is none: the node keeps its id.
pub fn read(path: &Path) -> Result<SecretKey, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return make(path).map_err(|error| format!("{}: {error}", path.display()));
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match parse(&text) {
        Some(bytes) => Ok(SecretKey::from_bytes(&bytes)),
        None => Err(format!(
            "{} holds no key of 32 bytes, written as 64 hexadecimal digits",
            path.display()
        )),
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(key)
}

/// A new key in a new file, which is whole as soon as it is there.
fn make(path: &Path) -> std::io::Result<SecretKey> {
    let key = SecretKey::generate();
    let text: String = key.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written.map(|()| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = std::env::temp_dir().join(format!("gossipcontrol-key-{}", std::process::id()));
        let path = directory.join("key");
        let made = read(&path).unwrap();
        assert_eq!(read(&path).unwrap().public(), made.public());
        fs::write(&path, "nonsense").unwrap();
        assert!(read(&path).unwrap_err().contains("holds no key"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
