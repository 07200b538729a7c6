import { describe, expect, test, vi } from 'vitest'
import { Grid, percentile, randomFrom } from '../src/measure.ts'

describe('percentile', () => {
  const values = Float64Array.from([5, 1, 4, 2, 3])

  test('is the value that so many do not exceed', () => {
    expect(percentile(values, 0)).toBe(1)
    expect(percentile(values, 0.2)).toBe(1)
    expect(percentile(values, 0.5)).toBe(3)
    expect(percentile(values, 0.81)).toBe(5)
    expect(percentile(values, 1)).toBe(5)
    const hundred = Float64Array.from({ length: 100 }, (_, i) => i + 1)
    expect(percentile(hundred, 0.99)).toBe(99)
  })

  test('leaves the values as they are', () => {
    percentile(values, 0.5)
    expect([...values]).toEqual([5, 1, 4, 2, 3])
  })

  test('of one value is that value, of none NaN', () => {
    expect(percentile(Float64Array.of(7), 0.99)).toBe(7)
    expect(percentile(new Float64Array(), 0.5)).toBeNaN()
  })
})

test('a seed always gives the same numbers, in [0, 1)', () => {
  const [first, second, other] = [randomFrom(1), randomFrom(1), randomFrom(2)]
  const numbers = Array.from({ length: 1000 }, first)
  expect(Array.from({ length: 1000 }, second)).toEqual(numbers)
  expect(Array.from({ length: 1000 }, other)).not.toEqual(numbers)
  for (const number of numbers) expect(number >= 0 && number < 1).toBe(true)
})

describe('a grid', () => {
  function at(nowMs: number): void {
    vi.spyOn(performance, 'now').mockReturnValue(nowMs)
  }

  test('stays where it is, however late its points are taken', () => {
    at(1000)
    const grid = new Grid(10)
    at(1004)
    expect(grid.leftMs).toBe(6)
    expect(grid.isDue).toBe(false)
    at(1010)
    expect(grid.isDue).toBe(true)
    expect(grid.take()).toBe(1010)
    expect(grid.skip()).toBe(0)
    at(1045)
    expect(grid.leftMs).toBe(0)
    expect(grid.take()).toBe(1020)
    expect(grid.skip()).toBe(2)
    expect(grid.take()).toBe(1050)
    vi.restoreAllMocks()
  })

  test('has skipped a point that has just come: it is a whole period late', () => {
    at(0)
    const grid = new Grid(10)
    at(20)
    expect(grid.take()).toBe(10)
    expect(grid.skip()).toBe(1)
    vi.restoreAllMocks()
  })
})
