/** For differences within a package. Only core knows which package is for which system. */
export const isWindows = process.platform === 'win32'
export const isLinux = process.platform === 'linux'
