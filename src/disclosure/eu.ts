/**
 * The member states of the European Union, as the treaties of accession and withdrawal date them (list as of 1 February
 * 2020, the day after the last change). A new member or a withdrawal is one line here.
 */

interface Membership {
  /** First day of membership. */
  readonly since: string
  /** Last day of membership. */
  readonly until?: string
  /** ISO 3166 alpha-3. */
  readonly states: readonly string[]
}

const MEMBERSHIPS: readonly Membership[] = [
  { since: '1958-01-01', states: ['BEL', 'DEU', 'FRA', 'ITA', 'LUX', 'NLD'] },
  { since: '1973-01-01', states: ['DNK', 'IRL'] },
  { since: '1973-01-01', until: '2020-01-31', states: ['GBR'] },
  { since: '1981-01-01', states: ['GRC'] },
  { since: '1986-01-01', states: ['ESP', 'PRT'] },
  { since: '1995-01-01', states: ['AUT', 'FIN', 'SWE'] },
  {
    since: '2004-05-01',
    states: ['CYP', 'CZE', 'EST', 'HUN', 'LTU', 'LVA', 'MLT', 'POL', 'SVK', 'SVN'],
  },
  { since: '2007-01-01', states: ['BGR', 'ROU'] },
  { since: '2013-07-01', states: ['HRV'] },
]

/**
 * Codes of ICAO 9303-3 section 5 that travel documents carry in place of a nationality and that leave it open: refugees,
 * unspecified, documents of organisations. `XXA` (stateless) is not among them: it says that there is none.
 */
const NO_NATIONALITY = /^(X(?!XA$)..|UN[AKO]|EUE)$/

/**
 * Whether a person of this `nationality` (alpha-3) is a citizen of a member state on `today` (`YYYY-MM-DD`, UTC);
 * `undefined` when the code is no nationality.
 */
export function isEuCitizen(nationality: string, today: string): boolean | undefined {
  if (!/^[A-Z]{3}$/.test(nationality) || NO_NATIONALITY.test(nationality)) return undefined
  return MEMBERSHIPS.some(
    ({ since, until, states }) =>
      states.includes(nationality) && since <= today && (until === undefined || today <= until),
  )
}
