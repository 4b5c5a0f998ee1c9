-- What the OpenID Connect door adds. docs/storage.md says of each table what a row holds and how long it lives.
-- As before, no table holds an identity attribute.

-- keys/: beside ES256 there is RS256, for tokens only; and a key that leaked is removed, which only its name survives.
-- A CHECK cannot be altered, so the table is made anew around its rows.
CREATE TABLE signing_key_of_two_algs (
  kid TEXT PRIMARY KEY,
  purpose TEXT NOT NULL CHECK (purpose IN ('token', 'push')),
  alg TEXT NOT NULL CHECK (alg IN ('ES256', 'RS256')),
  status TEXT NOT NULL CHECK (status IN ('active', 'retired', 'removed')),
  public_jwk TEXT NOT NULL,
  wrapped_private_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  CHECK (alg = 'ES256' OR purpose = 'token'),
  CHECK (status <> 'removed' OR wrapped_private_key = '')
) STRICT, WITHOUT ROWID;

INSERT INTO signing_key_of_two_algs
  (kid, purpose, alg, status, public_jwk, wrapped_private_key, created_at)
SELECT kid, purpose, alg, status, public_jwk, wrapped_private_key, created_at FROM signing_key;

DROP TABLE signing_key;
ALTER TABLE signing_key_of_two_algs RENAME TO signing_key;

-- Went with the old table: two isolates that make the first key of a kind at the same moment end with one.
CREATE UNIQUE INDEX signing_key_active ON signing_key (purpose, alg) WHERE status = 'active';

-- oidc/: a line of refresh tokens. The attributes are sealed in the tokens; here are only the generation that counts and the times.
CREATE TABLE refresh_family (
  family_id TEXT PRIMARY KEY,
  grant_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  rotated_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_family_by_grant ON refresh_family (grant_id);
CREATE INDEX refresh_family_ended ON refresh_family (expires_at);

-- oidc/: grants whose code or refresh token came again. A row lives as long as an access token of its grant could.
CREATE TABLE dead_grant (
  grant_id TEXT PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- oidc/: sessions at clients that want to hear of their end. Other clients have no rows.
CREATE TABLE client_session (
  sid TEXT NOT NULL,
  client_id TEXT NOT NULL,
  token_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (sid, client_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX client_session_by_person ON client_session (token_id);
CREATE INDEX client_session_ended ON client_session (expires_at);
