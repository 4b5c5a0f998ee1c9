/**
 * Age on a day, from a birth date that may lack its day or month. An answer is given only when it is the same for every
 * day the person may have been born on (2-protocol section 3). Born on 29 February comes of age on 1 March.
 */

const RANGES = [
  [0, '0-12'],
  [13, '13-15'],
  [16, '16-17'],
  [18, '18-20'],
  [21, '21-24'],
  [25, '25-34'],
  [35, '35-49'],
  [50, '50-64'],
  [65, '65+'],
] as const

export type AgeRange = (typeof RANGES)[number][1]

/**
 * Whether somebody born on `birth` (`YYYY`, `YYYY-MM` or `YYYY-MM-DD`) is at least `years` old on `today` (`YYYY-MM-DD`,
 * UTC); `undefined` when the date does not say, or is none.
 */
export function isAtLeast(years: number, birth: string, today: string): boolean | undefined {
  const ages = possibleAges(birth, today)
  if (ages === undefined) return undefined
  if (ages.youngest >= years) return true
  return ages.oldest < years ? false : undefined
}

/** The bracket of the age on `today`; `undefined` when the date does not say, or is none. */
export function ageRange(birth: string, today: string): AgeRange | undefined {
  const ages = possibleAges(birth, today)
  if (ages === undefined) return undefined
  const range = rangeOf(ages.oldest)
  return range === rangeOf(ages.youngest) ? range : undefined
}

function rangeOf(age: number): AgeRange | undefined {
  return RANGES.findLast(([from]) => age >= from)?.[1]
}

/** The ages of the first and the last possible day of birth; nobody is born after today. */
function possibleAges(
  birth: string,
  today: string,
): { readonly oldest: number; readonly youngest: number } | undefined {
  const days = possibleDays(birth)
  if (days === undefined || !isDay(today) || days.first > today) return undefined
  const last = days.last > today ? today : days.last
  return { oldest: ageOn(today, days.first), youngest: ageOn(today, last) }
}

/** Full years between two days. As text `02-28` < `02-29` < `03-01`, which is the rule for 29 February. */
function ageOn(today: string, born: string): number {
  const years = Number(today.slice(0, 4)) - Number(born.slice(0, 4))
  return today.slice(4) < born.slice(4) ? years - 1 : years
}

function possibleDays(
  birth: string,
): { readonly first: string; readonly last: string } | undefined {
  if (isDay(birth)) return { first: birth, last: birth }
  const [, year, month] = /^(\d{4})(?:-(0[1-9]|1[0-2]))?$/.exec(birth) ?? []
  if (year === undefined) return undefined
  if (month === undefined) return { first: `${year}-01-01`, last: `${year}-12-31` }
  const last = daysIn(Number(year), Number(month))
  return { first: `${year}-${month}-01`, last: `${year}-${month}-${last}` }
}

function isDay(text: string): boolean {
  const [, year, month, day] = /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/.exec(text) ?? []
  return day !== undefined && Number(day) <= daysIn(Number(year), Number(month))
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return [4, 6, 9, 11].includes(month) ? 30 : 31
}
