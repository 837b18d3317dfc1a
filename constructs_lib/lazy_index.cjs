// Loaded with `node --require` by constructs_lib/lazy_provider.py, in the process that jsii runs and in those it starts.
//
// jsii requires the provider package's lib/index.js, which requires 2135 files; the package also ships lib/lazy-index.js,
// the same exports behind getters. Send the one to the other. Where a package has no lazy index, nothing changes.
'use strict';
const fs = require('fs');
const Module = require('module');
const path = require('path');

const tail = path.join('@cdktf', 'provider-aws');
const resolve = Module._resolveFilename;
Module._resolveFilename = function (...args) {
  const found = resolve.apply(this, args);
  if (typeof found === 'string' && path.basename(found) === 'index.js' && path.basename(path.dirname(found)) === 'lib' && isProvider(found)) {
    const lazy = path.join(path.dirname(found), 'lazy-index.js');
    if (fs.existsSync(lazy)) return lazy;
  }
  return found;
};

// The package is unpacked at …/@cdktf/provider-aws/VERSION/HASH/ (jsii's cache) or …/node_modules/@cdktf/provider-aws/.
function isProvider(file) {
  return file.includes(path.sep + tail + path.sep);
}

// cdktf requires its zip library at once (7 % of a synthesis), and calls it only in the process of its own in which it makes
// an archive. Require it at that call.
const archivist = path.join('cdktf', 'lib', 'private', 'fs.js');
const load = Module._load;
Module._load = function (request, parent, ...rest) {
  if (request !== 'archiver' || !parent || !parent.filename || !parent.filename.endsWith(path.sep + archivist)) {
    return load.call(this, request, parent, ...rest);
  }
  return (...args) => load.call(this, request, parent, ...rest)(...args);
};
