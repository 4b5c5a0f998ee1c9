-- Services that prove themselves. docs/storage.md says of each table what a row holds and how long it lives.

-- keys/: a third purpose. A CHECK cannot be altered, so the table is made anew around its rows.
CREATE TABLE signing_key_of_three_purposes (
  kid TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('token', 'push', 'service')),
  alg TEXT NOT NULL CHECK (alg IN ('ES256', 'RS256')),
  status TEXT NOT NULL CHECK (status IN ('active', 'retired', 'removed')),
  public_jwk TEXT NOT NULL,
  wrapped_private_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  CHECK (alg = 'ES256' OR purpose = 'token'),
  CHECK (status <> 'removed' OR wrapped_private_key = '')
) STRICT, WITHOUT ROWID;

INSERT INTO signing_key_of_three_purposes
  (kid, purpose, alg, status, public_jwk, wrapped_private_key, created_at)
SELECT kid, purpose, alg, status, public_jwk, wrapped_private_key, created_at FROM signing_key;

DROP TABLE signing_key;
ALTER TABLE signing_key_of_three_purposes RENAME TO signing_key;

CREATE UNIQUE INDEX signing_key_active ON signing_key (purpose, alg) WHERE status = 'active';

-- services/: the Service VDS that were issued. The newest that stands is the current one; a withdrawn one is refused at once.
CREATE TABLE service_vds (
  cti TEXT PRIMARY KEY,
  service_id TEXT NOT NULL REFERENCES service (service_id),
  text TEXT NOT NULL,
  digest TEXT NOT NULL,
  kid TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  withdrawn_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX service_vds_of_service ON service_vds (service_id, issued_at);
-- Every step of a login asks for those of the last hour: after it no login of theirs can be open.
CREATE INDEX service_vds_withdrawn ON service_vds (withdrawn_at) WHERE withdrawn_at IS NOT NULL;

-- services/: which person trusts which service. It counts while `device`, the key that said it, is the enrolled one. `said_at` is the time of the statement that decided: an older one changes nothing.
CREATE TABLE service_trust (
  token_id TEXT NOT NULL,
  service_id TEXT NOT NULL,
  trusted INTEGER NOT NULL CHECK (trusted IN (0, 1)),
  vds TEXT NOT NULL,
  device TEXT NOT NULL,
  said_at INTEGER NOT NULL,
  PRIMARY KEY (token_id, service_id)
) STRICT, WITHOUT ROWID;
