//! Tokens for brokers that want SASL OAUTHBEARER (RFC 7628), fetched by the client credentials grant (RFC 6749, 4.4).
//!
//! ```text
//! Tokens ── held: one token a login, for all clients of the process, until half of its life is over
//!    └─ endpoint ── one HTTP request, on a thread of its own
//!          └─ grant: what the answer says;  failure: why there is no token, in words without a secret
//! ```
//!
//! A client comes to its token in two ways. librdkafka asks for one when it starts and when four fifths of the life of the
//! last are over; the question lies in its main queue, so [`Tokens::answer`] is called by whoever polls the client. A client
//! that nobody polls, or not yet, is given a token by [`Tokens::log_in`].

mod endpoint;
mod failure;
mod grant;
mod handover;
mod tokens;

#[cfg(test)]
mod tests;

pub use tokens::Tokens;
