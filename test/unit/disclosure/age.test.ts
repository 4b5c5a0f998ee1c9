import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ageRange, isAtLeast } from '../../../src/disclosure/age.ts'

describe('age on a day', () => {
  it.each([
    ['2008-06-15', '2026-06-14', false],
    ['2008-06-15', '2026-06-15', true],
    ['2008-06-15', '2026-06-16', true],
    ['2008-12-31', '2026-12-30', false],
    ['2009-01-01', '2026-12-31', false],
    ['2009-01-01', '2027-01-01', true],
    // Born on 29 February: comes of age on 1 March, also when 2028 has a 29 February later in life.
    ['2008-02-29', '2026-02-28', false],
    ['2008-02-29', '2026-03-01', true],
    ['2010-02-28', '2028-02-28', true],
    ['2010-03-01', '2028-02-29', false],
    // Partial: true only when the youngest possible person is old enough, false only when the oldest is not.
    ['2008', '2025-12-31', false],
    ['2008', '2026-01-01', undefined],
    ['2008', '2026-12-30', undefined],
    ['2008', '2026-12-31', true],
    ['2008-06', '2026-05-31', false],
    ['2008-06', '2026-06-01', undefined],
    ['2008-06', '2026-06-29', undefined],
    ['2008-06', '2026-06-30', true],
    ['2008-02', '2026-02-28', undefined],
    ['2008-02', '2026-03-01', true],
    ['2007-02', '2025-02-28', true],
    // No date, or not born yet: no answer.
    ['2008-02-30', '2026-06-15', undefined],
    ['2007-02-29', '2026-06-15', undefined],
    ['2008-13', '2026-06-15', undefined],
    ['2008-6-1', '2026-06-15', undefined],
    ['2026-06-16', '2026-06-15', undefined],
    ['', '2026-06-15', undefined],
    ['2008-06-15T00:00Z', '2026-06-15', undefined],
    ['2008-06-15', '2026-02-30', undefined],
  ])('born %s, on %s: over 18 is %s', (birth, today, expected) => {
    expect(isAtLeast(18, birth, today)).toBe(expected)
  })

  it('29 February comes of age on the day itself where there is one', () => {
    expect(isAtLeast(20, '2008-02-29', '2028-02-28')).toBe(false)
    expect(isAtLeast(20, '2008-02-29', '2028-02-29')).toBe(true)
  })

  it('the year 2100 has no 29 February', () => {
    expect(isAtLeast(18, '2082-02-28', '2100-02-28')).toBe(true)
    expect(isAtLeast(4, '2096-02-29', '2100-02-28')).toBe(false)
    expect(isAtLeast(4, '2096-02-29', '2100-03-01')).toBe(true)
    expect(isAtLeast(18, '2100-02-29', '2130-01-01')).toBeUndefined()
  })

  it.each([
    [0, '0-12'],
    [12, '0-12'],
    [13, '13-15'],
    [15, '13-15'],
    [16, '16-17'],
    [17, '16-17'],
    [18, '18-20'],
    [20, '18-20'],
    [21, '21-24'],
    [24, '21-24'],
    [25, '25-34'],
    [34, '25-34'],
    [35, '35-49'],
    [49, '35-49'],
    [50, '50-64'],
    [64, '50-64'],
    [65, '65+'],
    [99, '65+'],
  ])('%i years old is in %s', (years, range) => {
    expect(ageRange(`${2026 - years}-06-15`, '2026-06-15')).toBe(range)
  })

  it('a range is given only when every possible day gives it', () => {
    expect(ageRange('1990', '2026-06-15')).toBe('35-49')
    expect(ageRange('2005', '2026-06-15')).toBeUndefined()
    expect(ageRange('2005-05', '2026-06-15')).toBe('21-24')
    expect(ageRange('2026', '2026-06-15')).toBe('0-12')
    expect(ageRange('2026-07', '2026-06-15')).toBeUndefined()
    expect(ageRange('x', '2026-06-15')).toBeUndefined()
  })

  it('a partial date answers what all its days answer, checked day by day', () => {
    const iso = (time: number) => new Date(time).toISOString().slice(0, 10)
    const day = fc
      .integer({ min: Date.UTC(1996, 0, 1) / 864e5, max: Date.UTC(2032, 0, 1) / 864e5 })
      .map((days) => iso(days * 864e5))
    fc.assert(
      fc.property(
        day,
        day,
        fc.constantFrom(4, 7),
        fc.constantFrom(12, 13, 16, 18, 21, 25),
        (a, b, cut, years) => {
          const [birth, today] = a < b ? [a.slice(0, cut), b] : [b.slice(0, cut), a]
          const days: string[] = []
          for (let at = Date.UTC(Number(birth.slice(0, 4)), 0, 1); days.length < 366; at += 864e5) {
            const each = iso(at)
            if (each.slice(0, 4) !== birth.slice(0, 4)) break
            if (each.startsWith(birth) && each <= today) days.push(each)
          }
          const answers = new Set(days.map((each) => isAtLeast(years, each, today)))
          expect(isAtLeast(years, birth, today)).toBe(
            answers.size === 1 ? [...answers][0] : undefined,
          )
          const ranges = new Set(days.map((each) => ageRange(each, today)))
          expect(ageRange(birth, today)).toBe(ranges.size === 1 ? [...ranges][0] : undefined)
        },
      ),
    )
  })

  it('a full date agrees with a count of birthdays', () => {
    const day = fc.date({
      min: new Date('1950-01-01'),
      max: new Date('2049-12-31'),
      noInvalidDate: true,
    })
    fc.assert(
      fc.property(day, day, (a, b) => {
        const [born, today] = a < b ? [a, b] : [b, a]
        let birthdays = 0
        for (let year = born.getUTCFullYear() + 1; year <= today.getUTCFullYear(); year++) {
          // Date.UTC turns 29 February of a common year into 1 March: the rule itself.
          if (Date.UTC(year, born.getUTCMonth(), born.getUTCDate()) <= today.getTime())
            birthdays += 1
        }
        const [birth, on] = [born, today].map((date) => date.toISOString().slice(0, 10))
        expect(isAtLeast(birthdays, birth ?? '', on ?? '')).toBe(true)
        expect(isAtLeast(birthdays + 1, birth ?? '', on ?? '')).toBe(false)
      }),
    )
  })
})
