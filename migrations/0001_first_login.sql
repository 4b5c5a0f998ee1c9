-- Everything that outlives a login. docs/storage.md says of each table what a row holds and how long it lives.
-- No table holds an identity attribute: no name, birth date, nationality, document number or photo.

-- enrollment/: one row per tokenId; binds it to one device key.
CREATE TABLE enrollment (
  token_id TEXT PRIMARY KEY,
  enrollment_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
  ca_id TEXT NOT NULL,
  seal_fingerprint TEXT NOT NULL,
  seal_issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  trust_level INTEGER NOT NULL CHECK (trust_level BETWEEN 1 AND 3),
  granted INTEGER NOT NULL CHECK (granted IN (0, 1)),
  device_id TEXT NOT NULL,
  device_key TEXT NOT NULL,
  device_thumbprint TEXT NOT NULL,
  encryption_key TEXT,
  fcm_token TEXT,
  statement_iat INTEGER NOT NULL,
  enrolled_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;

-- One device key answers for one tokenId; a revoked binding gives its key up to nobody.
CREATE UNIQUE INDEX enrollment_by_key ON enrollment (device_thumbprint);
CREATE INDEX enrollment_by_fcm_token ON enrollment (fcm_token) WHERE fcm_token IS NOT NULL;

-- enrollment/: successful enrollments of the last hour by keyed hash of the address, for the limit of five.
CREATE TABLE enrollment_by_address (
  address TEXT NOT NULL,
  enrolled_at INTEGER NOT NULL
) STRICT;
CREATE INDEX enrollment_by_address_recent ON enrollment_by_address (address, enrolled_at);

-- services/: who may ask.
CREATE TABLE service (
  service_id TEXT PRIMARY KEY,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  metadata TEXT NOT NULL,
  secret_hashes TEXT NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE service_origin (
  origin TEXT NOT NULL,
  service_id TEXT NOT NULL REFERENCES service (service_id) ON DELETE CASCADE,
  PRIMARY KEY (origin, service_id)
) STRICT, WITHOUT ROWID;

-- seal/: the accepted trust list and the revoked seals.
CREATE TABLE trust_list (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL,
  jws TEXT NOT NULL,
  accepted_at INTEGER NOT NULL
) STRICT;

CREATE TABLE revocation_list (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL,
  digest TEXT NOT NULL,
  next_update INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL
) STRICT;

CREATE TABLE revoked_seal (
  fingerprint TEXT PRIMARY KEY,
  source TEXT NOT NULL CHECK (source IN ('list', 'operator')),
  revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- keys/: private halves are wrapped by a key derived from MASTER_SECRET.
CREATE TABLE signing_key (
  kid TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('token', 'push')),
  alg TEXT NOT NULL CHECK (alg IN ('ES256')),
  status TEXT NOT NULL CHECK (status IN ('active', 'retired')),
  public_jwk TEXT NOT NULL,
  wrapped_private_key TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Two isolates that make the first key at the same moment end with one.
CREATE UNIQUE INDEX signing_key_active ON signing_key (purpose, alg) WHERE status = 'active';

-- audit/: append-only. One row per login, written at its final transition; one per other act. `once` names what has one row
-- at most: a login, or one kind of refusal of one person on one day. Nothing is ever deleted, so ids rise without
-- AUTOINCREMENT, whose counter would cost a third row per login.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  once TEXT UNIQUE,
  detail TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit rows are append-only');
END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit rows are append-only');
END;

-- REPLACE deletes without asking the trigger above. A row that exists already stands; the second one is dropped.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id OR once = NEW.once)
BEGIN
  SELECT RAISE(IGNORE);
END;
