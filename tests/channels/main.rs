//! Channels whose messages bring their sender's context: the same on each kind of channel.

mod fates;
mod hops;
mod kinds;
mod runtimes;
mod shapes;
#[path = "../common/witness.rs"]
mod witness;

use fates::*;
use hops::*;

/// Makes tests of functions that are generic in the kind of channel.
macro_rules! on_every_kind {
    ($($test:ident)*) => {
        $(mod $test {
            #[test]
            fn futures_bounded() {
                super::$test::<crate::kinds::FuturesBounded>();
            }

            #[test]
            fn futures_unbounded() {
                super::$test::<crate::kinds::FuturesUnbounded>();
            }

            #[cfg(feature = "async-channel")]
            #[test]
            fn async_channel_bounded() {
                super::$test::<crate::kinds::AsyncChannelBounded>();
            }

            #[cfg(feature = "async-channel")]
            #[test]
            fn async_channel_unbounded() {
                super::$test::<crate::kinds::AsyncChannelUnbounded>();
            }

            #[cfg(feature = "tokio")]
            #[test]
            fn tokio_bounded() {
                super::$test::<crate::kinds::TokioBounded>();
            }

            #[cfg(feature = "tokio")]
            #[test]
            fn tokio_unbounded() {
                super::$test::<crate::kinds::TokioUnbounded>();
            }
        })*
    };
}

on_every_kind! {
    ta_14_messages_of_tasks_and_threads_are_handled_in_their_senders_contexts
    the_context_is_that_of_the_call
    local_variables_stay_behind
    a_receiver_keeps_no_context_between_messages
    unread_messages_are_dropped_in_their_contexts
    a_message_that_cannot_be_sent_comes_back_without_its_context
    an_unsent_message_is_dropped_in_its_context
    a_dropped_recv_loses_nothing
    a_dropped_run_drops_the_message_at_hand_in_its_context
    a_panic_ends_run_and_leaves_the_others_where_they_are
}
