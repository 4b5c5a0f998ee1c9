/** Made-up people whom the development issuer knows. Any likeness is chance; no document of these numbers exists. */

export type Person = {
  /** Short name by which programs ask for the person. */
  readonly id: string
  readonly givenNames: string
  readonly familyName: string
  readonly dateOfBirth: string
  /** ISO 3166 alpha-3, of the person and of the issuing state. */
  readonly nationality: string
  readonly documentNumber: string
  readonly sex: 'M' | 'F' | 'X'
  /** Whom the person stands for, in a few words. */
  readonly note: string
}

const camille: Person = {
  id: 'camille',
  givenNames: 'Camille',
  familyName: 'Martin',
  dateOfBirth: '1994-05-17',
  nationality: 'FRA',
  documentNumber: '20FV48211',
  sex: 'F',
  note: 'an adult from France',
}

export const persons: readonly Person[] = [
  camille,
  {
    id: 'jonas',
    givenNames: 'Jonas Emil',
    familyName: 'Weber',
    dateOfBirth: '1968-11-02',
    nationality: 'DEU',
    documentNumber: 'C01X7H9KP',
    sex: 'M',
    note: 'two given names, from Germany',
  },
  {
    id: 'noor',
    givenNames: 'Noor',
    familyName: 'de Vries',
    dateOfBirth: '2010-03-09',
    nationality: 'NLD',
    documentNumber: 'NXB4K7RD2',
    sex: 'F',
    note: 'not yet eighteen',
  },
  {
    id: 'suryani',
    givenNames: '',
    familyName: 'Suryani',
    dateOfBirth: '1987',
    nationality: 'IDN',
    documentNumber: 'X4471902',
    sex: 'F',
    note: 'one name, birth year only',
  },
]

/** The person `id`, or the first one. */
export function findPerson(id: unknown): Person {
  return persons.find((person) => person.id === id) ?? camille
}

/** The tokenId of the person for whom the autopilot answers: fixed, so that docs and scripts can name it. */
export const DEMO_TOKEN_ID = '10000000-0000-4000-8000-000000000001'
