/** The newest migration that this code needs. */
const SCHEMA = '0004_services.sql'

/** Whether the database has the schema of this code (5-security 311). */
export async function isSchemaCurrent(db: D1Database): Promise<boolean> {
  const row = await db.prepare('SELECT 1 FROM d1_migrations WHERE name = ?').bind(SCHEMA).first()
  return row !== null
}
