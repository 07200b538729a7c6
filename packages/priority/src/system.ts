/** For what differs by system within a package. Which package is for which system only core knows. */
export const isWindows = process.platform === 'win32'
export const isLinux = process.platform === 'linux'
