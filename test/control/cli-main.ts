import { main } from '../../src/main.js';

// `bin/switchyard` of this build, whatever folder it was compiled into.
process.exitCode = await main(process.argv.slice(2));
