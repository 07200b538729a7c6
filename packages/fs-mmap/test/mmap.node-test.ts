// The tests for `node --test`, which is what runs on Windows.
import './mmap.test.ts'
import './prefault.test.ts'
import './unmappable.test.ts'
import './write.test.ts'
