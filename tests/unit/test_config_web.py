import shutil
import ssl
import subprocess

import bcrypt
import pytest

from tokwatt.config import ConfigError
from tokwatt.config.web import BasicAuth, WebConfig, build_ssl_context, read_web_config

HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: TLS settings are NOT tested")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2"]
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run([*command, *names], cwd=folder, check=True, capture_output=True)
    encrypt = ["openssl", "rsa", "-aes256", "-in", "server.key", "-out", "locked.key", "-passout", "pass:x"]
    subprocess.run(encrypt, cwd=folder, check=True, capture_output=True)
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return folder


def write(folder, text):
    path = folder / "web.yml"
    path.write_text(text)
    return path


def mistakes_of(path):
    with pytest.raises(ConfigError) as caught:
        read_web_config(path)
    assert "hunter2" not in str(caught.value)
    return [
        (mistake.line, mistake.key, f"{mistake.message}; {mistake.suggestion}") for mistake in caught.value.mistakes
    ]


def handshake(server_context, client_context):
    """Run a TLS handshake in memory; raises ssl.SSLError of the side that refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server.version(), server.getpeercert()


def client(folder, certificate=None):
    context = ssl.create_default_context(cafile=str(folder / "server.pem"))
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    return context


def test_a_complete_file(certificates):
    path = write(
        certificates,
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert,"
        f" client_ca_file: other.pem, min_version: TLS13}}\nbasic_auth_users:\n  scraper: {HASH}\n",
    )
    config, warnings = read_web_config(path)
    assert warnings == ()
    assert config.basic_auth_users == {"scraper": HASH}
    assert HASH not in repr(config)
    context = build_ssl_context(config, str(path))
    version, peer = handshake(context, client(certificates, "other"))
    assert version == "TLSv1.3"
    assert peer["subject"] == ((("commonName", "other"),),)
    with pytest.raises(ssl.SSLError):
        handshake(context, client(certificates))
    old = client(certificates, "other")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(context, old)


def test_a_client_certificate_may_be_optional(certificates):
    path = write(
        certificates,
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: other.pem,"
        " client_auth_type: VerifyClientCertIfGiven}\n",
    )
    context = build_ssl_context(read_web_config(path)[0], str(path))
    assert handshake(context, client(certificates))[1] is None
    with pytest.raises(ssl.SSLError):
        handshake(context, client(certificates, "server"))


def test_an_empty_file_is_plain_http(tmp_path):
    config, warnings = read_web_config(write(tmp_path, "# nothing\n"))
    assert (config, warnings) == (WebConfig(), ())
    assert build_ssl_context(config, "web.yml") is None


def test_a_private_key_that_everybody_can_read_is_a_warning(certificates, tmp_path):
    for name in ("server.pem", "server.key"):
        shutil.copy(certificates / name, tmp_path / name)
    (tmp_path / "server.key").chmod(0o644)
    _, warnings = read_web_config(
        write(tmp_path, "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n")
    )
    assert [(w.line, w.key) for w in warnings] == [(3, "tls_server_config.key_file")]


@pytest.mark.parametrize(
    ("cert", "key"), [("server.pem", "other.key"), ("server.pem", "locked.key"), ("web.yml", "server.key")]
)
def test_certificates_that_cannot_be_used_name_their_files(certificates, cert, key):
    path = write(certificates, f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n")
    config, _ = read_web_config(path)
    with pytest.raises(ConfigError, match=rf"tls_server_config\.cert_file: .*{cert} and .*{key} cannot be used: "):
        build_ssl_context(config, str(path))


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("tls_server_config:\n  cert_file: web.yml\n", 2, "tls_server_config.key_file", "required key is missing"),
        ("tls_server_config: {cert_file: no, key_file: web.yml}\n", 1,
         "tls_server_config.cert_file", "put it in quotes"),
        ("tls_server_config: {cert_file: x, key_file: web.yml}\n", 1, "tls_server_config.cert_file", "does not exist"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml, min_version: TLS11}\n", 1,
         "tls_server_config.min_version", "unknown value 'TLS11'"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml, client_auth_type: RequireAnyClientCert}\n", 1,
         "tls_server_config.client_auth_type", "unknown value 'RequireAnyClientCert'"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml, client_ca_file: web.yml}\n", 1,
         "tls_server_config.client_ca_file", "has no effect with client_auth_type NoClientCert"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml,\n client_auth_type: VerifyClientCertIfGiven}\n",
         2,
         "tls_server_config.client_ca_file", "VerifyClientCertIfGiven needs it"),
        ("tls_server_config: {cert_file: web.yml, key_file: web.yml, cipher_suites: [a]}\n", 1,
         "tls_server_config.cipher_suites", "not in this version"),
        ("http_server_config: {http2: true}\n", 1, "http_server_config", "not in this version"),
        ("basic_auth_user: {}\n", 1, "basic_auth_user", "did you mean basic_auth_users?"),
        ("basic_auth_users:\n  a: hunter2\n", 2, "basic_auth_users.a", "not a bcrypt hash; make one with"),
        (f"basic_auth_users:\n  'a:b': {HASH}\n", 2, "basic_auth_users.a:b", "holds no colon"),
        ("basic_auth_users: [hunter2]\n", 1, "basic_auth_users", "expected a mapping (key: value), got a list"),
        ("basic_auth_users: hunter2\n", 1, "basic_auth_users", "expected a mapping (key: value), got text"),
    ],
)  # fmt: skip
def test_mistakes_in_the_web_configuration(tmp_path, text, line, key, words):
    path = write(tmp_path, text)
    path.chmod(0o600)
    found = mistakes_of(path)
    assert [(f[0], f[1]) for f in found][-1:] == [(line, key)]
    assert words in found[-1][2]


async def test_passwords():
    auth = BasicAuth({"scraper": HASH})
    assert await auth.verify("scraper", "correct horse")
    assert await auth.verify("scraper", "correct horse"), "the remembered result"
    assert not await auth.verify("scraper", "correct horsf")
    assert not await auth.verify("scraper", "")
    assert not await auth.verify("nobody", "correct horse")
    assert not await BasicAuth({}).verify("nobody", "")


async def test_passwords_that_bcrypt_would_cut_are_refused():
    long = "x" * 72
    auth = BasicAuth({"scraper": bcrypt.hashpw(long.encode(), bcrypt.gensalt(4)).decode()})
    assert await auth.verify("scraper", long)
    assert not await auth.verify("scraper", long + "y")
    assert not await auth.verify("scraper", "é" * 37)
    assert not await auth.verify("scraper", "a\0b")
    assert not await auth.verify("scraper", "\udcff")
    assert not await auth.verify("scr\udcff", long)


async def test_a_good_password_is_hashed_once_and_an_unknown_user_costs_a_hash(monkeypatch):
    checked = []
    real = bcrypt.checkpw

    def counting(password, password_hash):
        checked.append(password_hash)
        return real(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    auth = BasicAuth({"scraper": HASH})
    for _ in range(3):
        assert await auth.verify("scraper", "correct horse")
    assert len(checked) == 1
    assert not await auth.verify("nobody", "correct horse")
    assert len(checked) == 2
    assert checked[1][:7] == HASH[:7].encode(), "at the same cost as a known user"
