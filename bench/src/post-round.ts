// One round of Kiruna's posts, in a process of its own. Prints what it has measured as JSON.
import { measurePosts } from './post.ts'

console.log(JSON.stringify(await measurePosts()))
