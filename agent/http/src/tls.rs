//! Whom TLS trusts, and by which time certificates are judged.

use crate::{
    error::{Error, Result},
    file,
    options::Options,
};
use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{fmt::Display, path::Path, sync::Arc, time::Duration};

/// What a client needs to speak TLS.
pub(crate) fn config(options: &Options) -> Result<ClientConfig> {
    let failed = |error: &dyn Display| Error::Client(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(options, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &options.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            // The error might show what is in the file.
            let unfit = || {
                let (certificate, key) = (certificate.display(), key.display());
                Error::Client(format!(
                    "{certificate} and {key}: no certificate with its private key in PEM"
                ))
            };
            let key = PrivateKeyDer::from_pem_slice(&file::read(key)?).map_err(|_| unfit())?;
            let chain = certificates(certificate)?;
            let signed = builder.with_client_auth_cert(chain, key);
            signed.map_err(|_| unfit())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = file::read(path)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
    let bad = |why: &dyn Display| {
        let path = path.display();
        Error::Client(format!("{path}: no certificates in PEM: {why}"))
    };
    match all {
        Ok(all) if all.is_empty() => Err(bad(&"there is none in it")),
        Ok(all) => Ok(all),
        Err(why) => Err(bad(&why)),
    }
}

/// Judges a server's certificate as usual; where its time is all that is wrong, by
/// [`Options::known_time`] too.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    known: Option<UnixTime>,
}

impl Verifier {
    fn new(options: &Options, provider: Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for path in &options.ca_files {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|why| {
                    let path = path.display();
                    Error::Client(format!("{path}: not a certificate authority: {why}"))
                })?;
            }
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| {
                let why =
                    "this system has no certificate authorities; set ca_file, or install them";
                Error::Client(why.to_owned())
            })?;
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or_default();
        let known = options.known_time.map(seconds);
        let known = known.map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        Ok(Self { usual, known })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let at = |time| {
            let (name, ocsp) = (server_name, ocsp_response);
            self.usual
                .verify_server_cert(end_entity, intermediates, name, ocsp, time)
        };
        match (at(now), self.known) {
            (Err(error), Some(known)) if is_of_time(&error) => at(known).map_err(|_| error),
            (verified, _) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

fn is_of_time(error: &rustls::Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// What to say first, where a certificate was refused for its time.
pub(crate) fn advice(error: &str) -> Option<String> {
    let of_time = ["certificate not valid yet", "certificate expired"];
    of_time.iter().any(|words| error.contains(words)).then(|| {
        format!(
            "the clock here reads {:.0}; if that is wrong, set it: ",
            Timestamp::now()
        )
    })
}
