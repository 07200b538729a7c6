// One round of Kiruna's ticks, in a process of its own. Prints what it has measured as JSON.
import { measure } from './ticks.ts'

console.log(JSON.stringify(await measure('kiruna', Number(process.argv[2]))))
