use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_cut_ends_a_read_and_a_write_that_wait() {
    let (stream, _peer) = duplex(4);
    let (stream, cut) = CutStream::new(stream);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = tokio::spawn(async move { reader.read_u8().await });
    // More than the pipe takes.
    let write = tokio::spawn(async move { writer.write_all(&[0; 100]).await });
    tokio::task::yield_now().await;
    assert!(!read.is_finished() && !write.is_finished());
    drop(CutOnDrop(cut.clone()));
    assert!(timeout(SOON, read).await.unwrap().unwrap().is_err());
    assert!(timeout(SOON, write).await.unwrap().unwrap().is_err());
    assert!(cut.is_cut());
}
