//! A token given to a client, without being asked for it.

use std::ffi::CString;
use std::ptr;

use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr;
use secrecy::ExposeSecret;
use walbrook_model::{Error, Result};

use crate::grant::Grant;

/// Gives a token to a client, whose connections wait for it.
///
/// # Errors
/// [`walbrook_model::ErrorKind::Transient`] if librdkafka does not take it, as one that has ended meanwhile.
pub(crate) fn hand_over<C: ClientContext>(client: &Client<C>, grant: &Grant, principal: &str) -> Result<()> {
    let refused = || Error::transient("librdkafka does not take a token: it may have ended already").on("kafka");
    let token = CString::new(grant.token.expose_secret()).map_err(|_| refused())?;
    let principal = CString::new(principal).map_err(|_| refused())?;
    // What librdkafka writes there may repeat the token: it is not looked at.
    let mut complaint = [0; 512];
    #[allow(unsafe_code, reason = "the client library asks for a token where it is polled, and gives no other way")]
    // SAFETY: the client lives through the call, the texts end with a null and are copied, and the buffer is as long as said.
    let taken = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            grant.until_ms(),
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            complaint.as_mut_ptr(),
            complaint.len(),
        )
    };
    if taken == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(refused()) }
}
