//! libyang keeps only its last error; what it says before is heard through its log, per thread.

use std::{borrow::Cow, cell::RefCell, sync::Once};

use yang5::{context::Context, logging::LogCallback};

/// Longest text kept of a message; they quote values.
const MAX_TEXT: usize = 500;

/// One error that libyang told of.
pub(super) struct Said {
    pub(super) message: String,
    /// The node in the data.
    pub(super) data_path: Option<String>,
    /// The node in the schema, where there is no data.
    pub(super) schema_path: Option<String>,
    /// Line of the input; 0 if unknown.
    pub(super) line: u64,
}

struct Heard {
    said: Vec<Said>,
    max: usize,
}

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

struct Listener;

impl LogCallback for Listener {
    // Called by libyang on the thread that works; it must not panic through C.
    fn log<'a>(
        &'a self,
        level: yang5::ffi::LY_LOG_LEVEL::Type,
        message: Option<Cow<'a, str>>,
        data_path: Option<Cow<'a, str>>,
        schema_path: Option<Cow<'a, str>>,
        line: u64,
    ) {
        if level != yang5::ffi::LY_LOG_LEVEL::LY_LLERR {
            return;
        }
        let _ = HEARD.try_with(|heard| {
            let Ok(mut heard) = heard.try_borrow_mut() else { return };
            if let Some(heard) = heard.as_mut().filter(|heard| heard.said.len() < heard.max) {
                heard.said.push(Said {
                    message: cut(message.unwrap_or_default()),
                    data_path: data_path.map(cut),
                    schema_path: schema_path.map(cut),
                    line,
                });
            }
        });
    }
}

fn cut(text: Cow<'_, str>) -> String {
    let mut text = text.into_owned();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

/// Makes this process listen; to be called when there is a context.
pub(super) fn ready(context: &Context) {
    static LISTENING: Once = Once::new();
    // Nobody else in this process uses libyang, so nobody else can have set a listener.
    LISTENING.call_once(|| drop(context.init_logger(Listener)));
}

/// Does `work` and gives the errors that libyang told of meanwhile on this thread, at most `max`.
pub(super) fn listen<T>(max: usize, work: impl FnOnce() -> T) -> (T, Vec<Said>) {
    HEARD.set(Some(Heard { said: Vec::new(), max }));
    let done = work();
    (done, HEARD.take().map(|heard| heard.said).unwrap_or_default())
}
