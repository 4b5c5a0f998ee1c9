/**
 * Writes into the log why a request was refused: the answer itself is bland (1-architecture decision 14). `reason` is made of
 * words of ours; `service` is given only when it is known for sure, because a client_id may be any text.
 */
export type NoteRefusal = (
  where: 'authorize' | 'par' | 'token' | 'introspect' | 'revoke' | 'userinfo' | 'logout',
  reason: string,
  service?: string,
) => Promise<void>
