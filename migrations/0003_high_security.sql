-- What clients of the high profile add. docs/storage.md says of the table what a row holds and how long it lives.

-- services/: what a client proved itself with and may not prove itself with again: the `jti` of a client assertion (RFC
-- 7523) or of a DPoP proof (RFC 9449). A row is the hash of kind, owner and `jti`, and lives as long as the proof would be
-- accepted. Clients with a secret, or without proofs, have no rows.
CREATE TABLE used_proof (
  proof TEXT PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_proof_ended ON used_proof (expires_at);
