import { availableParallelism } from 'node:os';

const THREADS_MAX = 4;

/** An import is one text at a time: more threads than a few only wait for each other. */
export const defaultThreads = (): number => Math.min(availableParallelism(), THREADS_MAX);
